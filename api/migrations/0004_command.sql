-- Commands to devices. The number gives their order; a command that ended is kept for a while, to be looked at.
create table command (
    number integer primary key autoincrement,
    tenant text not null,
    command_id text not null,
    device_id text not null,
    name text not null,
    args text not null,
    actor text not null,
    state text not null,
    created integer not null,
    expires integer not null,
    delivered integer,
    ended integer,
    ok integer,
    result text,
    reason text,
    constraint command_state check (state in ('pending', 'delivered', 'answered', 'refused', 'expired')),
    constraint command_id unique (tenant, command_id)
) strict;
create index command_of_device on command (tenant, device_id, number);
-- What waits is looked through at the start, every second and for each device.
create index command_waiting on command (tenant, device_id, number) where state = 'pending';
create index command_ended on command (ended) where ended is not null;

-- Frames of the log whose replies have been noted above.
create table reply_offset (
    one integer primary key,
    frames integer not null,
    constraint reply_offset_one check (one = 1)
) strict;
insert into reply_offset values (1, 0);
