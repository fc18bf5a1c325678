//! oslo-scheduling
