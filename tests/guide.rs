//! The guide names the test that shows each of its lines.

use std::fs;

#[test]
fn the_tests_that_the_guide_names_are_there() {
    let guide = fs::read_to_string("src/guide/what_happens_when.md").unwrap();
    let mut count = 0;
    // "(`first`, `file.rs: second`)": of tests/faults.rs where no file is named.
    for (list, _) in guide.split("(`").skip(1).filter_map(|rest| rest.split_once("`)")) {
        for name in list.split("`, `").filter(|name| !name.contains("://")) {
            let (file, test) = match name.split_once(": ") {
                Some((file, test)) => (file, Some(test)),
                None if name.contains('/') => (name, None),
                None => ("faults.rs", Some(name)),
            };
            let path = if file.contains('/') { file.into() } else { format!("tests/{file}") };
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            let is_there = test.is_none_or(|test| text.contains(&format!("fn {test}()")));
            assert!(is_there, "{path} has no test {test:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
