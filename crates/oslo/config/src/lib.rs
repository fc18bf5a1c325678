//! oslo-config
