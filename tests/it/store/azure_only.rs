//! What only a service behind a network can get wrong.
