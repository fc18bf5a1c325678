//! oslo-messaging
