//! The Functions host stand-in, shown with a handler that does what each test tells it.

#[path = "functions_host/answers.rs"]
mod answers;
#[path = "functions_host/app.rs"]
mod app;
#[path = "functions_host/http.rs"]
mod http;
#[path = "functions_host/process.rs"]
mod process;
#[path = "functions_host/queues.rs"]
mod queues;
#[path = "functions_host/requests.rs"]
mod requests;
#[path = "functions_host/timers.rs"]
mod timers;
