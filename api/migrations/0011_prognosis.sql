-- Where models speak for a component, a rule's alarm waits for their word before it opens a ticket.
create table spoken_for (
    tenant text not null,
    profile text not null,
    component text not null,
    -- Nobody speaks for it after this.
    until integer not null,
    primary key (tenant, profile, component)
) strict;

alter table alarm add column component text
    generated always as (substr(fault_key, 1, instr(fault_key, '/') - 1)) virtual;
-- While it waits: the time at which it is not waited for any longer.
alter table alarm add column prognosis_due integer;
-- Where it waited: the time at which a person was to judge.
alter table alarm add column prognosis_until integer;
create index alarm_prognosis on alarm (tenant, device_id, component) where prognosis_due is not null;
create index alarm_prognosis_due on alarm (prognosis_due) where prognosis_due is not null;
