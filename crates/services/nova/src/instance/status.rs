//! The two state fields of an instance, and the one word that the API makes of them.

base::str_enum! {
    /// What the instance is.
    pub enum VmState {
        Building = "building",
        Active = "active",
        Paused = "paused",
        Suspended = "suspended",
        Stopped = "stopped",
        Rescued = "rescued",
        Resized = "resized",
        SoftDelete = "soft-delete",
        Deleted = "deleted",
        Error = "error",
        Shelved = "shelved",
        ShelvedOffloaded = "shelved_offloaded",
    }
}

base::str_enum! {
    /// What is being done to it; every one of these belongs to a flow, which ends it.
    pub enum TaskState {
        Scheduling = "scheduling",
        BlockDeviceMapping = "block_device_mapping",
        Networking = "networking",
        Spawning = "spawning",
        Rebooting = "rebooting",
        RebootPending = "reboot_pending",
        RebootStarted = "reboot_started",
        RebootingHard = "rebooting_hard",
        Pausing = "pausing",
        Unpausing = "unpausing",
        Suspending = "suspending",
        Resuming = "resuming",
        PoweringOff = "powering-off",
        PoweringOn = "powering-on",
        Deleting = "deleting",
    }
}

/// `status` of the API.
pub fn api_status(vm: VmState, task: Option<TaskState>) -> &'static str {
    match (vm, task) {
        (
            VmState::Active
            | VmState::Stopped
            | VmState::Paused
            | VmState::Suspended
            | VmState::Error,
            Some(TaskState::RebootingHard),
        ) => "HARD_REBOOT",
        (
            VmState::Active,
            Some(TaskState::Rebooting | TaskState::RebootPending | TaskState::RebootStarted),
        ) => "REBOOT",
        (VmState::Building, _) => "BUILD",
        (VmState::Active, _) => "ACTIVE",
        (VmState::Paused, _) => "PAUSED",
        (VmState::Suspended, _) => "SUSPENDED",
        (VmState::Stopped, _) => "SHUTOFF",
        (VmState::Rescued, _) => "RESCUE",
        (VmState::Resized, _) => "VERIFY_RESIZE",
        (VmState::SoftDelete, _) => "SOFT_DELETED",
        (VmState::Deleted, _) => "DELETED",
        (VmState::Error, _) => "ERROR",
        (VmState::Shelved, _) => "SHELVED",
        (VmState::ShelvedOffloaded, _) => "SHELVED_OFFLOADED",
    }
}

/// The vm states that a `status` filter means.
pub fn states_of(status: &str) -> Vec<VmState> {
    VmState::ALL
        .iter()
        .copied()
        .filter(|s| api_status(*s, None).eq_ignore_ascii_case(status))
        .collect()
}

/// Tasks that `status=REBOOT` or `HARD_REBOOT` mean.
pub fn tasks_of(status: &str) -> Vec<TaskState> {
    match status.to_ascii_uppercase().as_str() {
        "REBOOT" => vec![
            TaskState::Rebooting,
            TaskState::RebootPending,
            TaskState::RebootStarted,
        ],
        "HARD_REBOOT" => vec![TaskState::RebootingHard],
        _ => Vec::new(),
    }
}
