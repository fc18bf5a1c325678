//! oslo-testing

pub mod bus;
pub mod db;
pub mod upstream;
