//! oslo-auth
