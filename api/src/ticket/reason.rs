//! Why a ticket stands where it stands: each status with its own words (`service-domain.md` 3.3).

words!(
    /// What the customer is needed for.
    PendingReason, "status_change_reason" {
        /// Does not answer.
        NoAnswer = "no_answer",
        /// Has to choose a time.
        NeedsSlot = "needs_slot",
        /// Has to let somebody in.
        NeedsAccess = "needs_access",
        /// Has to decide on a quote.
        NeedsQuoteDecision = "needs_quote_decision",
    }
);

words!(
    /// Whom we wait for.
    HeldReason, "status_change_reason" {
        /// A part.
        Parts = "parts",
        /// A partner.
        Partner = "partner",
        /// A laboratory.
        Lab = "lab",
        /// Whoever finds the cause that many devices have in common.
        ServiceProblem = "service_problem",
    }
);

words!(
    /// Why a ticket is not taken.
    RejectReason, "status_change_reason" {
        /// Another ticket is about the same.
        Duplicate = "duplicate",
        /// The device is not ours to serve.
        NotOurDevice = "not_our_device",
        /// Not covered, and the customer does not pay.
        NoEntitlement = "no_entitlement_and_quote_refused",
        /// There never was a fault.
        FalseAlarm = "false_alarm",
    }
);

words!(
    /// Why a ticket is withdrawn.
    CancelReason, "status_change_reason" {
        /// The customer does not want it any more.
        CustomerWithdrew = "customer_withdrew",
        /// The device is out of use.
        DeviceRetired = "device_retired",
    }
);

words!(
    /// How it is known that a ticket is done.
    CloseReason, "status_change_reason" {
        /// The device was heard of and stayed healthy for the whole time.
        Verified = "verified",
        /// The customer says so.
        CustomerConfirmed = "customer_confirmed",
        /// The time is over and nobody knows.
        Unverified = "unverified",
    }
);

words!(
    /// Why a resolved ticket is open again.
    ReopenReason, "status_change_reason" {
        /// The same fault was seen again.
        Recurrence = "recurrence",
        /// The customer says it is not fixed.
        CustomerNotFixed = "customer_not_fixed",
    }
);
