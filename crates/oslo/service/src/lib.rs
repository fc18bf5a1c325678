//! oslo-service
