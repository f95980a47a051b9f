//! The Functions host stand-in, shown with a handler that does what each test tells it.

mod answers;
mod app;
mod http;
mod process;
mod queues;
mod requests;
mod timers;
