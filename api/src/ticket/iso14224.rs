//! Close-out codes: the words of ISO 14224 (tables B.2 to B.5) that fit appliances. The failure mode is the second
//! half of a fault key and belongs to the profile.

words!(
    /// Failure mechanism: the physical process (table B.2).
    Mechanism, "failure_mechanism" {
        /// Mechanical, not told further.
        MechanicalGeneral = "mechanical_general",
        /// Leakage.
        Leakage = "leakage",
        /// Vibration.
        Vibration = "vibration",
        /// Clearance or alignment.
        ClearanceAlignment = "clearance_alignment",
        /// Deformation.
        Deformation = "deformation",
        /// Looseness.
        Looseness = "looseness",
        /// Sticking.
        Sticking = "sticking",
        /// Material, not told further.
        MaterialGeneral = "material_general",
        /// Cavitation.
        Cavitation = "cavitation",
        /// Corrosion.
        Corrosion = "corrosion",
        /// Erosion.
        Erosion = "erosion",
        /// Wear.
        Wear = "wear",
        /// Breakage.
        Breakage = "breakage",
        /// Fatigue.
        Fatigue = "fatigue",
        /// Overheating.
        Overheating = "overheating",
        /// Burst.
        Burst = "burst",
        /// Instrument, not told further.
        InstrumentGeneral = "instrument_general",
        /// Control failure.
        ControlFailure = "control_failure",
        /// No signal.
        NoSignal = "no_signal",
        /// Faulty signal.
        FaultySignal = "faulty_signal",
        /// Out of adjustment.
        OutOfAdjustment = "out_of_adjustment",
        /// Software error.
        SoftwareError = "software_error",
        /// Electrical, not told further.
        ElectricalGeneral = "electrical_general",
        /// Short circuit.
        ShortCircuit = "short_circuit",
        /// Open circuit.
        OpenCircuit = "open_circuit",
        /// No power.
        NoPower = "no_power",
        /// Faulty power.
        FaultyPower = "faulty_power",
        /// Earth or isolation fault.
        EarthFault = "earth_fault",
        /// Blocked or plugged.
        Blockage = "blockage",
        /// Contamination.
        Contamination = "contamination",
        /// Another influence from outside.
        ExternalInfluence = "external_influence",
        /// Another one.
        Other = "other",
        /// Not known.
        Unknown = "unknown",
    }
);

words!(
    /// Failure cause: the circumstance (table B.3).
    Cause, "failure_cause" {
        /// Design, not told further.
        DesignGeneral = "design_general",
        /// Improper capacity.
        ImproperCapacity = "improper_capacity",
        /// Improper material.
        ImproperMaterial = "improper_material",
        /// Made wrongly.
        FabricationError = "fabrication_error",
        /// Installed wrongly.
        InstallationError = "installation_error",
        /// Used outside its design.
        OffDesignService = "off_design_service",
        /// Used wrongly.
        OperatingError = "operating_error",
        /// Maintained wrongly.
        MaintenanceError = "maintenance_error",
        /// Worn as expected.
        ExpectedWearAndTear = "expected_wear_and_tear",
        /// Documentation or management.
        ManagementError = "management_error",
        /// Looked for and not found.
        NoCauseFound = "no_cause_found",
        /// Several.
        CombinedCauses = "combined_causes",
        /// Another one.
        Other = "other",
        /// Not known.
        Unknown = "unknown",
    }
);

words!(
    /// Detection method (table B.4).
    DetectionMethod, "detection_method" {
        /// Periodic maintenance.
        PeriodicMaintenance = "periodic_maintenance",
        /// Functional testing.
        FunctionalTesting = "functional_testing",
        /// Inspection.
        Inspection = "inspection",
        /// Periodic condition monitoring.
        PeriodicConditionMonitoring = "periodic_condition_monitoring",
        /// Continuous condition monitoring: Forewarn.
        ContinuousConditionMonitoring = "continuous_condition_monitoring",
        /// It got in the way of use.
        ProductionInterference = "production_interference",
        /// Somebody noticed.
        CasualObservation = "casual_observation",
        /// During the repair of something else.
        CorrectiveMaintenance = "corrective_maintenance",
        /// It did not start when asked.
        OnDemand = "on_demand",
        /// Another one.
        Other = "other",
    }
);

words!(
    /// Maintenance activity (table B.5).
    Activity, "maintenance_activity" {
        /// Replaced by the same kind.
        Replace = "replace",
        /// Repaired.
        Repair = "repair",
        /// Changed.
        Modify = "modify",
        /// Adjusted.
        Adjust = "adjust",
        /// Refitted.
        Refit = "refit",
        /// Checked.
        Check = "check",
        /// Serviced.
        Service = "service",
        /// Tested.
        Test = "test",
        /// Inspected.
        Inspection = "inspection",
        /// Overhauled.
        Overhaul = "overhaul",
        /// Several.
        Combination = "combination",
        /// Another one.
        Other = "other",
    }
);
