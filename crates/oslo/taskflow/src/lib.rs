//! oslo-taskflow
