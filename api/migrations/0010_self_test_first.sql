-- A self-test may come before the ticket: then the alarms of its fault wait for it. SQLite cannot widen a column or drop a
-- constraint without writing the table anew; nothing refers to this one.
create table self_test_first (
    number integer primary key autoincrement,
    tenant text not null,
    command_id text not null,
    device_id text not null,
    fault_key text not null,
    name text not null,
    -- None as long as it comes first and no ticket is open.
    ticket_id text references ticket (ticket_id),
    wanted integer not null,
    -- Not ordered before.
    due integer not null,
    -- One that comes first and passes is repeated up to then; none where there was a ticket before it.
    until integer,
    taken integer,
    replied integer,
    passed integer,
    result text,
    -- When what it found was acted upon, where it came first.
    decided integer,
    constraint self_test_wanted_unique unique (tenant, command_id)
) strict;
insert into self_test_first (number, tenant, command_id, device_id, fault_key, name, ticket_id, wanted, due,
        taken, replied, passed, result)
    select w.number, w.tenant, w.command_id, w.device_id, t.fault_key, w.name, w.ticket_id, w.wanted, w.wanted,
        w.taken, w.replied, w.passed, w.result
    from self_test_wanted w join ticket t on t.ticket_id = w.ticket_id;
drop table self_test_wanted;
alter table self_test_first rename to self_test_wanted;
create index self_test_wanted_waiting on self_test_wanted (due) where taken is null;
create index self_test_of_ticket on self_test_wanted (ticket_id, number);
-- One at a time comes first.
create unique index self_test_first_once on self_test_wanted (tenant, device_id, fault_key)
    where ticket_id is null and decided is null;

alter table alarm add column awaits_self_test integer not null default 0;
create index alarm_awaiting on alarm (tenant, device_id, fault_key) where awaits_self_test = 1;
