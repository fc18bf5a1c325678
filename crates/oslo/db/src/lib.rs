//! oslo-db
