-- What became of a self-test. Commands are forgotten after a while, tickets are not: the reply stays with the ticket.
alter table self_test_wanted add column replied integer;
alter table self_test_wanted add column passed integer;
alter table self_test_wanted add column result text;
create index self_test_of_ticket on self_test_wanted (ticket_id, number);
