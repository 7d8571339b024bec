-- Visits: who can go, where to, what was offered, what was promised. Instants are microseconds since 1970, UTC.

-- Technicians. Skills and shifts are read whole, so they are documents.
create table technician (
    tenant text not null,
    technician_id text not null,
    name text not null,
    skills text not null constraint technician_skills_json check (json_valid(skills)),
    home_lat real not null constraint technician_home_lat check (home_lat between -90 and 90),
    home_lon real not null constraint technician_home_lon check (home_lon between -180 and 180),
    time_zone text not null,
    shifts text not null constraint technician_shifts_json check (json_valid(shifts)),
    active integer not null constraint technician_active_flag check (active in (0, 1)),
    created_at integer not null,
    changed_at integer not null,
    primary key (tenant, technician_id)
) strict, without rowid;

-- Where a device stands. A site may be told before the device was first heard of, so it refers to no device row.
create table device_site (
    tenant text not null,
    device_id text not null,
    lat real not null constraint device_site_lat check (lat between -90 and 90),
    lon real not null constraint device_site_lon check (lon between -180 and 180),
    address text,
    time_zone text not null,
    changed_at integer not null,
    primary key (tenant, device_id)
) strict, without rowid;

-- Offers, each holding a technician's time until it expires. Expiry is a comparison with the clock; the state word
-- follows when the next writer comes by, so a hold never outlives its time because nobody swept.
create table slot_hold (
    tenant text not null,
    slot_id text not null,
    ticket_id text not null references ticket (ticket_id),
    technician_id text not null,
    state text not null constraint slot_hold_state_word check (state in ('held', 'confirmed', 'released', 'expired')),
    window_start integer not null,
    window_end integer not null,
    visit_start integer not null,
    visit_end integer not null,
    lat real not null,
    lon real not null,
    travel_added_seconds integer not null,
    why text not null,
    created_at integer not null,
    expires_at integer not null,
    primary key (tenant, slot_id),
    foreign key (tenant, technician_id) references technician (tenant, technician_id),
    constraint slot_hold_in_window check (window_start <= visit_start and visit_start < window_end),
    constraint slot_hold_forward check (visit_start < visit_end)
) strict, without rowid;
create index slot_hold_live on slot_hold (tenant, technician_id, visit_start) where state = 'held';
create index slot_hold_by_ticket on slot_hold (tenant, ticket_id, state);

-- Promises to customers, with the states of TM Forum 646. `sequence` is iCalendar's: one up with each change.
create table appointment (
    tenant text not null,
    appointment_id text not null,
    ticket_id text not null references ticket (ticket_id),
    device_id text not null,
    slot_id text not null,
    technician_id text not null,
    sequence integer not null,
    state text not null constraint appointment_state_word check (state in
        ('initialized', 'confirmed', 'cancelled', 'completed', 'failed')),
    reason text,
    actor text not null,
    window_start integer not null,
    window_end integer not null,
    visit_start integer not null,
    visit_end integer not null,
    created_at integer not null,
    changed_at integer not null,
    primary key (tenant, appointment_id),
    foreign key (tenant, technician_id) references technician (tenant, technician_id),
    constraint appointment_reason_known check ((state in ('cancelled', 'failed')) = (reason is not null))
) strict, without rowid;
-- One promise at a time for one ticket: a second visit comes after the first has ended.
create unique index appointment_one_confirmed on appointment (tenant, ticket_id) where state = 'confirmed';
create index appointment_by_ticket on appointment (tenant, ticket_id, appointment_id);
create index appointment_by_technician on appointment (tenant, technician_id, appointment_id);

-- Technicians' time as committed to appointments. A rescheduled appointment releases one row and commits another.
create table booking (
    tenant text not null,
    booking_id text not null,
    appointment_id text not null,
    technician_id text not null,
    state text not null constraint booking_state_word check (state in ('committed', 'completed', 'cancelled')),
    visit_start integer not null,
    visit_end integer not null,
    lat real not null,
    lon real not null,
    primary key (tenant, booking_id),
    foreign key (tenant, appointment_id) references appointment (tenant, appointment_id),
    foreign key (tenant, technician_id) references technician (tenant, technician_id),
    constraint booking_forward check (visit_start < visit_end)
) strict, without rowid;
create index booking_committed on booking (tenant, technician_id, visit_start) where state = 'committed';
create unique index booking_one_per_appointment on booking (tenant, appointment_id) where state = 'committed';
-- Nobody is in two places at once, whatever the program believes.
create trigger booking_no_overlap_insert before insert on booking when new.state = 'committed' begin
    select raise(abort, 'technician is booked already') from booking as other
    where other.tenant = new.tenant and other.technician_id = new.technician_id and other.state = 'committed'
        and other.visit_start < new.visit_end and new.visit_start < other.visit_end;
end;
create trigger booking_no_overlap_update before update on booking when new.state = 'committed' begin
    select raise(abort, 'technician is booked already') from booking as other
    where other.tenant = new.tenant and other.technician_id = new.technician_id and other.state = 'committed'
        and other.booking_id <> new.booking_id
        and other.visit_start < new.visit_end and new.visit_start < other.visit_end;
end;
