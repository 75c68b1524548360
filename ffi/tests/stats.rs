//! Every figure of the core has a constant with its name.

mod support;

use ctrd::Stat;
use support::header::macros;
use support::read;

#[test]
fn every_figure_has_a_constant_with_its_name() {
    let constants: Vec<_> = macros(&read("include/ctrd.h"))
        .into_iter()
        .filter(|(name, _)| name.starts_with("CTRD_STAT_"))
        .collect();
    let expected: Vec<_> = Stat::all()
        .zip(1..)
        .map(|(stat, value)| {
            (format!("CTRD_STAT_{}", stat.name().to_uppercase()), value.to_string())
        })
        .collect();
    assert_eq!(constants, expected);
}
