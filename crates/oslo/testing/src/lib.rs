//! oslo-testing
