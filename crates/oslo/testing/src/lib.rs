//! oslo-testing

pub mod db;
