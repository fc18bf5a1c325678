//! Consoles: tickets that name a guest's VNC server, and the proxy that browsers reach it through.

mod head;
mod pages;
mod proxy;
pub mod tickets;

pub use proxy::serve_novnc;
