//! oslo-limit
