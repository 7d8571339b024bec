-- Dead letters that were put into the log again. A letter that is refused once more is a new letter.
create table dead_letter_replay (
    tenant text not null,
    letter_id blob not null,
    replayed integer not null,
    primary key (tenant, letter_id),
    constraint dead_letter_replay_id check (length(letter_id) = 32)
) strict, without rowid;
