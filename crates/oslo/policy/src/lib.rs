//! oslo-policy
