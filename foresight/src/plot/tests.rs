use super::*;

#[test]
fn every_series_and_month_stands_in_the_picture() {
    let month = |name: &str| name.to_owned();
    let series = |name: &str, values: &[Option<f64>]| Series { name: name.into(), values: values.to_vec() };
    let drawn = || {
        months(
            "washing_machine",
            &[month("2026-08"), month("2026-09"), month("2026-10")],
            &[series("precision", &[Some(0.5), None, Some(0.9)]), series("recall", &[Some(0.1), Some(0.2), Some(0.3)])],
            &[series("cost", &[Some(10.0), Some(20.0), Some(5.0)])],
            "planned visits",
        )
        .unwrap()
    };
    let svg = drawn();
    for said in ["<svg", "washing_machine", "2026-09", "precision", "recall", "cost", "planned visits"] {
        assert!(svg.contains(said), "{said} is not in the picture");
    }
    assert_eq!(svg, drawn());
}

#[test]
fn no_month_is_an_empty_picture() {
    assert!(months("nothing", &[], &[], &[], "").unwrap().contains("<svg"));
}
