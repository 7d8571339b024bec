//! Travel times and the gaps in a technician's day. Pure.

use std::time::Duration;

use schemas::time::Instant;

use super::{Booking, Candidate, Place, Stretch};

/// Roads are longer than the straight line: the usual factor for towns of Europe and North America is 1.2 to 1.4.
pub(crate) const ROAD_FACTOR: f64 = 1.3;
/// Door to door with parking, town and country mixed.
pub(crate) const SPEED_KM_H: f64 = 40.0;
/// Mean radius of the earth (IUGG).
const EARTH_KM: f64 = 6371.0088;

/// Great-circle distance.
pub(crate) fn distance_km(a: Place, b: Place) -> f64 {
    let (lat_a, lat_b) = (a.lat().to_radians(), b.lat().to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((b.lon() - a.lon()).to_radians() / 2.0).sin();
    let h = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    2.0 * EARTH_KM * h.min(1.0).sqrt().asin()
}

/// Time on the road, rounded up to the full minute.
pub(crate) fn travel(a: Place, b: Place) -> Duration {
    let minutes = distance_km(a, b) * ROAD_FACTOR / SPEED_KM_H * 60.0;
    Duration::from_secs(minutes.ceil() as u64 * 60)
}

/// Free time between two things that stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gap {
    /// Free from here on,
    pub ready: Instant,
    /// at this place, which is home where no visit lies before in this stretch.
    pub from: Place,
    /// Whether `from` is home.
    pub from_home: bool,
    /// Bound again from here on,
    pub due: Instant,
    /// at this place.
    pub to: Place,
}

impl Gap {
    /// Earliest start of work at `site`.
    pub(crate) fn earliest(&self, site: Place) -> Instant {
        self.ready.plus(travel(self.from, site))
    }

    /// Latest start of work of this length at `site`.
    pub(crate) fn latest(&self, site: Place, duration: Duration) -> Instant {
        self.due.minus(travel(site, self.to)).minus(duration)
    }

    /// Travel more than without the visit.
    pub(crate) fn travel_added(&self, site: Place) -> Duration {
        (travel(self.from, site) + travel(site, self.to)).saturating_sub(travel(self.from, self.to))
    }
}

/// The gaps of one stretch. A booking outside every stretch (the shift was changed after it was made) still binds:
/// the technician comes home from it before the stretch begins, or leaves in time for it.
pub(crate) fn gaps(technician: &Candidate, stretch: Stretch) -> Vec<Gap> {
    let inside = |booking: &&Booking| booking.end > stretch.start && booking.start < stretch.end;
    let home = technician.home;
    let before = technician.bookings.iter().filter(|booking| booking.end <= stretch.start);
    let after = technician.bookings.iter().filter(|booking| booking.start >= stretch.end);
    let at_home = before.map(|b| b.end.plus(travel(b.place, home))).max();
    let away_again = after.map(|b| b.start.minus(travel(home, b.place))).min();

    let (mut ready, mut from, mut from_home) = (stretch.start.max(at_home.unwrap_or(stretch.start)), home, true);
    let mut gaps = Vec::new();
    for booking in technician.bookings.iter().filter(inside) {
        gaps.push(Gap { ready, from, from_home, due: booking.start, to: booking.place });
        // Two slots held for one ticket may overlap, for one of them at most is taken.
        if booking.end > ready {
            (ready, from, from_home) = (booking.end, booking.place, false);
        }
    }
    let due = stretch.end.min(away_again.unwrap_or(stretch.end));
    gaps.push(Gap { ready, from, from_home, due, to: home });
    gaps
}
