//! oslo-cache
