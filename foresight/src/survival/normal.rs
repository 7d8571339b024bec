//! The standard normal distribution with its far tails in logarithms.
//!
//! In: a standardised value. Out: log density, log tail, quantile. Promise: relative error below 1e-13 in both tails.
//! Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), the three
//! ranges of his CALERF.

use std::f64::consts::FRAC_1_SQRT_2;

/// `ln sqrt(2 pi)`.
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;
/// `1 / sqrt(pi)`.
const FRAC_1_SQRT_PI: f64 = 0.564_189_583_547_756_3;

/// Below this, `erf` is a polynomial in `x^2`.
const NEAR: f64 = 0.46875;
/// Above this, `erfc` is an asymptotic fraction in `1 / x^2`.
const FAR: f64 = 4.0;

const ERF_UP: [f64; 5] = [
    1.857_777_061_846_031_5e-1,
    3.161_123_743_870_565_5,
    1.138_641_541_510_501_6e2,
    3.774_852_376_853_02e2,
    3.209_377_589_138_469_4e3,
];
const ERF_DOWN: [f64; 4] =
    [2.360_129_095_234_412e1, 2.440_246_379_344_441_6e2, 1.282_616_526_077_372_3e3, 2.844_236_833_439_171e3];
const MIDDLE_UP: [f64; 9] = [
    2.153_115_354_744_038_3e-8,
    5.641_884_969_886_701e-1,
    8.883_149_794_388_375,
    6.611_919_063_714_163e1,
    2.986_351_381_974_001e2,
    8.819_522_212_417_69e2,
    1.712_047_612_634_070_7e3,
    2.051_078_377_826_071_6e3,
    1.230_339_354_797_997_2e3,
];
const MIDDLE_DOWN: [f64; 8] = [
    1.574_492_611_070_983_5e1,
    1.176_939_508_913_125e2,
    5.371_811_018_620_099e2,
    1.621_389_574_566_690_3e3,
    3.290_799_235_733_459_7e3,
    4.362_619_090_143_247e3,
    3.439_367_674_143_721_6e3,
    1.230_339_354_803_749_5e3,
];
const FAR_UP: [f64; 6] = [
    1.631_538_713_730_209_8e-2,
    3.053_266_349_612_323_6e-1,
    3.603_448_999_498_044_5e-1,
    1.257_817_261_112_292_6e-1,
    1.608_378_514_874_227_5e-2,
    6.587_491_615_298_378e-4,
];
const FAR_DOWN: [f64; 5] = [
    2.568_520_192_289_822,
    1.872_952_849_923_460_4,
    5.279_051_029_514_285e-1,
    6.051_834_131_244_132e-2,
    2.335_204_976_268_691_8e-3,
];

/// `e^(x^2) erfc(x)` for `x >= 0`.
fn scaled_erfc(x: f64) -> f64 {
    if x <= NEAR {
        let square = x * x;
        let (mut up, mut down) = (ERF_UP[0] * square, square);
        for place in 0..3 {
            up = (up + ERF_UP[place + 1]) * square;
            down = (down + ERF_DOWN[place]) * square;
        }
        return square.exp() * (1.0 - x * (up + ERF_UP[4]) / (down + ERF_DOWN[3]));
    }
    if x <= FAR {
        let (mut up, mut down) = (MIDDLE_UP[0] * x, x);
        for place in 0..7 {
            up = (up + MIDDLE_UP[place + 1]) * x;
            down = (down + MIDDLE_DOWN[place]) * x;
        }
        return (up + MIDDLE_UP[8]) / (down + MIDDLE_DOWN[7]);
    }
    let inverse = 1.0 / (x * x);
    let (mut up, mut down) = (FAR_UP[0] * inverse, inverse);
    for place in 0..4 {
        up = (up + FAR_UP[place + 1]) * inverse;
        down = (down + FAR_DOWN[place]) * inverse;
    }
    (FRAC_1_SQRT_PI - inverse * (up + FAR_UP[5]) / (down + FAR_DOWN[4])) / x
}

/// Log of the density.
pub(crate) fn ln_density(z: f64) -> f64 {
    -0.5 * z * z - LN_SQRT_2PI
}

/// Log of the probability above `z`.
pub(crate) fn ln_above(z: f64) -> f64 {
    if z >= 0.0 {
        return (0.5 * scaled_erfc(z * FRAC_1_SQRT_2)).ln() - 0.5 * z * z;
    }
    (-below(z)).ln_1p()
}

/// The probability below `z`.
pub(crate) fn below(z: f64) -> f64 {
    if z <= 0.0 {
        return 0.5 * scaled_erfc(-z * FRAC_1_SQRT_2) * (-0.5 * z * z).exp();
    }
    1.0 - below(-z)
}

/// The value below which a share `p` lies: Newton on the log tail from a start of Abramowitz and Stegun 26.2.23.
pub(crate) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let t = (-2.0 * p.ln()).sqrt();
    let mut z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    for _ in 0..4 {
        let tail = ln_above(z);
        z += (tail - p.ln()) / (ln_density(z) - tail).exp();
    }
    -z
}

/// Two-sided probability of a standard normal beyond `z`.
pub(crate) fn two_sided(z: f64) -> f64 {
    (2.0 * below(-z.abs())).min(1.0)
}
