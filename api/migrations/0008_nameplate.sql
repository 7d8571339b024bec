-- What a device cannot tell of itself: told by whoever sold or installed it. Null is not known.
alter table device add column model text;
alter table device add column batch text;
alter table device add column region text;
alter table device add column installed_at integer;
