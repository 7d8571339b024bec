//! A load's own rules; whole loads run in `tests/it`.

use std::time::Duration;

use schemas::{payload, time, topic::Topic};
use tokio::time::Instant;

use super::{
    Form,
    connection::Outbox,
    pace::{Due, Pace},
    payload::{Shape, Speaker},
};
use crate::fleet::device::{Answer, Next, Source};

fn shape(form: Form, batch: u32) -> Shape {
    let begin = time::Instant::from_millis(1_795_302_000_000);
    Shape { form, batch, payload_bytes: 250, boot: 1_795_302_000, begin, seed: 1 }
}

fn speaker(form: Form, batch: u32) -> Speaker {
    let topic: Topic = "fw/v1/dev/load-000000/telemetry".parse().unwrap();
    Speaker::new(&topic, 0, &shape(form, batch))
}

#[test]
fn every_form_is_readings_in_order() {
    for (form, batch) in [(Form::Json, 1), (Form::Json, 100), (Form::Columns, 1), (Form::Columns, 100)] {
        let mut speaker = speaker(form, batch);
        let mut found = Vec::new();
        for _ in 0..20 {
            let message = speaker.say();
            let told = payload::telemetry(payload::Form::Json, &message);
            assert!(told.rejects.is_empty(), "{:?}", told.rejects);
            assert_eq!(told.readings.len(), batch as usize);
            assert!(told.readings.iter().all(|reading| reading.metrics.len() == 7));
            found.extend(told.readings.iter().map(|reading| (reading.seq.unwrap(), reading.event_time)));
        }
        for (place, pair) in found.windows(2).enumerate() {
            assert_eq!(pair[0].0, place as i64);
            assert!(pair[0].1 < pair[1].1, "{form:?} {batch}: {pair:?}");
        }
    }
}

#[test]
fn a_reading_is_as_long_as_asked_for() {
    let length = speaker(Form::Json, 1).say().len();
    assert!((240..=256).contains(&length), "{length}");
    let topic: Topic = "fw/v1/dev/load-000000/telemetry".parse().unwrap();
    let mut long = Speaker::new(&topic, 0, &Shape { payload_bytes: 1000, ..shape(Form::Json, 1) });
    let length = long.say().len();
    assert!((990..=1000).contains(&length), "{length}");
}

#[test]
fn the_same_seed_says_the_same() {
    let said = |mut speaker: Speaker| (0..5).map(|_| speaker.say()).collect::<Vec<_>>();
    assert_eq!(said(speaker(Form::Columns, 10)), said(speaker(Form::Columns, 10)));
}

/// Nobody ends it early.
fn on() -> tokio::sync::watch::Receiver<Option<Instant>> {
    tokio::sync::watch::channel(None).1
}

#[test]
fn a_load_that_is_ended_early_misses_only_what_was_due_by_then() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let (end, ended) = tokio::sync::watch::channel(None);
    let mut pace = Pace::new(Some(100.0), 1, 0, start, ms(60_000), None, ended.clone());
    assert_eq!(pace.next(start), Due::Since(start));
    let mut silent = Pace::new(Some(0.0), 1, 0, start, ms(60_000), None, ended);
    assert_eq!(silent.next(start), Due::At(ms(1000)), "looks again");
    end.send(Some(ms(35))).unwrap();
    assert_eq!(pace.next(ms(35)), Due::Over);
    assert_eq!(silent.next(ms(35)), Due::Over);
    assert_eq!(pace.missed(), 3, "those of 10, 20 and 30 ms");
}

#[test]
fn at_a_rate_each_message_is_due_at_its_own_moment_however_late_it_is() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    // Two connections at 100 per second: each every 20 ms, the second 10 ms later.
    let mut pace = Pace::new(Some(100.0), 2, 1, start, ms(100), None, on());
    assert_eq!(pace.next(start), Due::At(ms(10)));
    assert_eq!(pace.next(ms(10)), Due::Since(ms(10)));
    assert_eq!(pace.next(ms(10)), Due::At(ms(30)));
    // Held up until 65 ms: two are due, counted from when they should have gone.
    assert_eq!(pace.next(ms(65)), Due::Since(ms(30)));
    assert_eq!(pace.next(ms(65)), Due::Since(ms(50)));
    assert_eq!(pace.next(ms(65)), Due::At(ms(70)));
    assert_eq!(pace.next(ms(100)), Due::Over);
    assert_eq!(pace.missed(), 2, "those of 70 and 90 ms");
}

#[test]
fn without_a_rate_a_message_is_due_when_asked_for() {
    let start = Instant::now();
    let end = start + Duration::from_secs(1);
    let mut pace = Pace::new(None, 2, 0, start, end, Some(2), on());
    assert_eq!(pace.next(start), Due::Since(start));
    assert_eq!(pace.next(start), Due::Since(start));
    assert_eq!(pace.next(start), Due::Over);
    assert_eq!(Pace::new(Some(0.0), 2, 0, start, end, None, on()).next(start), Due::At(end));
}

#[test]
fn what_was_unanswered_is_sent_again_and_counted_once() {
    let start = Instant::now();
    let pace = Pace::new(None, 1, 0, start, start + Duration::from_secs(600), Some(4), on());
    let mut outbox = Outbox::new(pace, vec![speaker(Form::Json, 1)]);
    let said = |outbox: &mut Outbox| match outbox.next() {
        Next::Publish { ticket, payload, .. } => Some((ticket, payload)),
        _ => None,
    };
    let first: Vec<_> = (0..3).map(|_| said(&mut outbox).unwrap()).collect();
    outbox.answered(1, Answer::Acknowledged);
    outbox.again();
    assert_eq!(said(&mut outbox).as_ref(), Some(&first[0]));
    assert_eq!(said(&mut outbox).as_ref(), Some(&first[2]));
    assert_eq!(said(&mut outbox).unwrap().0, 3, "then what is new");
    assert_eq!(outbox.next(), Next::Done);
    for ticket in [0, 2, 2, 3] {
        outbox.answered(ticket, Answer::Acknowledged);
    }
    assert_eq!((outbox.tally.acknowledged, outbox.tally.resent), (4, 2));
}
