-- Advisories: what prognosis expects, how likely, and what was decided. Few columns are asked for, so the rest is the
-- document as it came.
create table advisory (
    number integer primary key autoincrement,
    tenant text not null,
    advisory_id text not null,
    device_id text not null,
    fault_key text not null,
    event_time integer not null,
    decision text not null constraint advisory_decision_word check (decision in ('auto', 'assist', 'watch')),
    body text not null constraint advisory_body_json check (json_valid(body)),
    ticket_id text references ticket (ticket_id),
    constraint advisory_unique unique (tenant, advisory_id),
    -- What is only watched opens and joins nothing.
    constraint advisory_watch_alone check (decision <> 'watch' or ticket_id is null)
) strict;
create index advisory_by_device on advisory (tenant, device_id, number);
create index advisory_by_ticket on advisory (ticket_id, number) where ticket_id is not null;
create index advisory_alone on advisory (number) where ticket_id is null;

-- A ticket opened by an advisory keeps channel 'alarm', which means: by itself. SQLite cannot widen a check without
-- writing the table anew under all that refers to it, and the count below tells the two apart.
alter table ticket add column advisory_count integer not null default 0;

-- Self-tests that are wanted of devices; whoever delivers commands takes them from here in order.
create table self_test_wanted (
    number integer primary key autoincrement,
    tenant text not null,
    command_id text not null,
    device_id text not null,
    name text not null,
    ticket_id text not null references ticket (ticket_id),
    wanted integer not null,
    taken integer,
    constraint self_test_wanted_unique unique (tenant, command_id),
    constraint self_test_wanted_once unique (ticket_id, name)
) strict;
create index self_test_wanted_waiting on self_test_wanted (number) where taken is null;
