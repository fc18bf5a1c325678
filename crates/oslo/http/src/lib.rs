//! oslo-http
