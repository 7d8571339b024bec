use super::*;

/// A step in the first feature, noise-free; the second says nothing and is sometimes missing.
fn step() -> (Matrix, Vec<f64>) {
    let first: Vec<f64> = (0..400).map(|row| f64::from(row) / 400.0).collect();
    let second = (0..400).map(|row| if row % 7 == 0 { f64::NAN } else { f64::from(row % 5) }).collect();
    let target = first.iter().map(|x| if *x > 0.5 { 1.0 } else { 0.0 }).collect();
    (Matrix::from_columns(vec![("first".into(), first), ("second".into(), second)]), target)
}

fn grown(objective: Objective) -> (Booster, Matrix, Vec<f64>) {
    let (matrix, target) = step();
    let booster = Booster::fit(&matrix, &target, &vec![1.0; 400], &Settings::new(objective, 1)).unwrap();
    (booster, matrix, target)
}

#[test]
fn a_step_is_learnt() {
    for objective in [Objective::Squared, Objective::Logistic] {
        let (booster, matrix, target) = grown(objective);
        let said = match objective {
            Objective::Squared => booster.margin(&matrix).unwrap(),
            Objective::Logistic => booster.probability(&matrix).unwrap(),
        };
        assert!(said.iter().zip(&target).all(|(said, is)| (said - is).abs() < 0.3), "{objective:?}");
    }
}

#[test]
fn the_same_seed_grows_the_same_trees_and_a_written_model_says_the_same() {
    let (one, matrix, _) = grown(Objective::Logistic);
    let (two, ..) = grown(Objective::Logistic);
    assert_eq!(one.margin(&matrix).unwrap(), two.margin(&matrix).unwrap());
    let read: Booster = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(read.margin(&matrix).unwrap(), one.margin(&matrix).unwrap());
}

#[test]
fn contributions_add_up_to_the_margin_and_name_the_feature_that_matters() {
    let (booster, matrix, _) = grown(Objective::Squared);
    let margins = booster.margin(&matrix).unwrap();
    for (parts, margin) in booster.contributions(&matrix).unwrap().iter().zip(margins) {
        assert!((parts.iter().sum::<f64>() - margin).abs() < 1e-3, "{parts:?} for {margin}");
        assert!(parts[0].abs() > parts[1].abs());
    }
}

#[test]
fn other_features_are_refused_by_name() {
    let (booster, ..) = grown(Objective::Squared);
    let other = Matrix::from_columns(vec![("third".into(), vec![1.0])]);
    assert!(booster.margin(&other).unwrap_err().to_string().contains("third"));
    let empty = Booster::fit(&Matrix::default(), &[], &[], &Settings::new(Objective::Squared, 1));
    assert!(matches!(empty, Err(BoostError::Empty { .. })));
}

#[test]
fn a_forest_says_bit_for_bit_what_its_booster_says() {
    let (booster, matrix, _) = grown(Objective::Logistic);
    let mut rows = Vec::new();
    for row in 0..matrix.rows() {
        rows.extend([matrix.column(0)[row], if row % 3 == 0 { f64::NAN } else { matrix.column(1)[row] }]);
    }
    let forest = booster.forest();
    let same = Matrix::from_rows(booster.names().to_vec(), rows.chunks(2));
    assert_eq!(forest.margins(&rows), booster.margin(&same).unwrap());
    assert_eq!(forest.probabilities(&rows), booster.probability(&same).unwrap());
}

#[test]
fn named_columns_come_in_the_order_asked_for_and_none_is_made_up() {
    let column = |name: &str, values: [f64; 2]| (name.to_owned(), values.to_vec());
    let matrix = Matrix::from_columns(vec![column("a", [1.0, 2.0]), column("b", [3.0, 4.0]), column("c", [5.0, 6.0])]);
    let named = |names: &[&str]| matrix.named(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
    assert_eq!(named(&["c", "a"]), Some(Matrix::from_columns(vec![column("c", [5.0, 6.0]), column("a", [1.0, 2.0])])));
    assert_eq!(named(&["a", "d"]), None);
}
