//! Prognosis before a ticket: where a model speaks for a component, a rule's alarm waits for its word.
//!
//! In: which components models speak for, as of the last midnight; alarms of rules; advisories of any decision. Out: a
//! ticket; an advisory's fault asked for again ([`schemas::door::ServiceDesk::awaited`]). Promise: an alarm that waits gets a ticket or ends,
//! whatever becomes of prognosis; what is of critical severity, what a device reports itself, what belongs to a storm and what joins
//! an open ticket waits for nobody. Never: an alarm that is hidden: it is there, and says what it waits for.
//!
//! A rule sees one metric over a limit and cannot tell wear from what looks like it; a calibrated model has seen what became of
//! both. So where its costs say that a visit does not pay, none is opened, as long as it says so.
//!
//! ```text
//! raised --waits--> the next midnight --likely----> a ticket
//!           ^            |    '-- no word of it for two days --> as if nobody spoke for it: a self-test or a ticket
//!           '-unlikely---'
//!                    '-- still raised after a week --> a ticket that waits for an agent's yes
//! ```
//!
//! The running example: a blanket spins badly, `drum_bearing_vibration` is raised, the motor's current stays; the model
//! says 4 % at midnight, the next wash is quiet, the alarm is cleared and nobody was called.

pub mod rules;
pub mod store;
pub mod verdict;
