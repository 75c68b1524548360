//! Arguments from C, checked and copied. An error names the argument.

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, size_of};

use ctrd::{Error, Result};

/// No struct is ever longer. A larger size comes from a variable that was not initialised.
const MAX_STRUCT: usize = 4096;

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
/// `repr(C)`, its first member is `size: usize`, and all-zero is a valid value.
pub(crate) unsafe trait Struct: Copy {}

/// The size of the caller's struct, which is its first member.
///
/// # Safety
/// `given` is NULL or points to a struct as long as its first member says.
unsafe fn size_of_given<T: Struct>(name: &str, given: *const T) -> Result<usize> {
    if given.is_null() {
        return Err(Error::invalid(name, "must not be NULL"));
    }
    // SAFETY: the first member is the size (`Struct`), and the caller's struct has at least that.
    let size = unsafe { given.cast::<usize>().read_unaligned() };
    if size < size_of::<usize>() || size > MAX_STRUCT || size % size_of::<usize>() != 0 {
        return Err(Error::invalid(
            name,
            format!("its size is {size}; initialise it with the _INIT macro"),
        ));
    }
    Ok(size)
}

/// Reads the caller's struct. It may be of an older header (the members that it lacks are zero), or of a
/// later one (the members that this library does not know must be zero).
///
/// # Safety
/// `given` is NULL or points to a struct as long as its first member says.
pub(crate) unsafe fn input<T: Struct>(name: &str, given: *const T) -> Result<T> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_given(name, given)? };
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes.
    let tail = unsafe { std::slice::from_raw_parts(given.cast::<u8>().add(known), size - known) };
    if tail.iter().any(|byte| *byte != 0) {
        return Err(Error::invalid(
            name,
            format!(
                "has members that this library does not know ({size} bytes, {} known), and uses them",
                size_of::<T>()
            ),
        ));
    }
    let mut read = MaybeUninit::<T>::zeroed();
    // SAFETY: both have `known` bytes, and all-zero is valid where the caller's has none (`Struct`).
    unsafe {
        std::ptr::copy_nonoverlapping(given.cast::<u8>(), read.as_mut_ptr().cast::<u8>(), known);
        Ok(read.assume_init())
    }
}

/// Fills in the caller's struct, as far as the caller's header knows it. Members that this library does
/// not know become zero; the size stays.
///
/// # Safety
/// `place` is NULL or points to a struct as long as its first member says.
pub(crate) unsafe fn fill<T: Struct>(name: &str, place: *mut T, value: T) -> Result<()> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_given(name, place)? };
    let known = size.min(size_of::<T>()) - size_of::<usize>();
    // SAFETY: the caller's struct has `size` bytes, and behind their sizes both have `known`.
    unsafe {
        initialise(place, size);
        let from = (&raw const value).cast::<usize>().add(1).cast::<u8>();
        std::ptr::copy_nonoverlapping(from, place.cast::<usize>().add(1).cast::<u8>(), known);
    }
    Ok(())
}

/// The body of the `_init` functions: all zero, and the size.
///
/// # Safety
/// `place` is NULL or points to `size` bytes.
pub(crate) unsafe fn initialise<T: Struct>(place: *mut T, size: usize) {
    if place.is_null() || size < size_of::<usize>() {
        return;
    }
    // SAFETY: the caller's struct has `size` bytes, which may be fewer or more than ours.
    unsafe {
        std::ptr::write_bytes(place.cast::<u8>(), 0, size);
        place.cast::<usize>().write_unaligned(size);
    }
}

/// A string that the caller must give.
///
/// # Safety
/// `given` is NULL or a NUL-terminated string.
pub(crate) unsafe fn text(name: &str, given: *const c_char) -> Result<String> {
    // SAFETY: as the caller promises.
    let text = unsafe { optional_text(name, given)? };
    text.ok_or_else(|| Error::invalid(name, "must not be NULL"))
}

/// A string for which the caller may give NULL.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_text(name: &str, given: *const c_char) -> Result<Option<String>> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: it is a NUL-terminated string.
    let bytes = unsafe { CStr::from_ptr(given) };
    match bytes.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Error::invalid(name, "is not UTF-8")),
    }
}

/// An array of strings. The pointer of an empty one is not looked at.
///
/// # Safety
/// `given` is NULL or an array of `len` strings, each as for [`text`].
pub(crate) unsafe fn texts(
    name: &str,
    given: *const *const c_char,
    len: usize,
) -> Result<Vec<String>> {
    // SAFETY: as the caller promises.
    let texts = unsafe { optional_texts(name, given, len)? };
    let text = |(i, text): (usize, Option<String>)| {
        text.ok_or_else(|| Error::invalid(&format!("{name}[{i}]"), "must not be NULL"))
    };
    texts.into_iter().enumerate().map(text).collect()
}

/// An array of strings, some of which may be NULL.
///
/// # Safety
/// As for [`texts`].
pub(crate) unsafe fn optional_texts(
    name: &str,
    given: *const *const c_char,
    len: usize,
) -> Result<Vec<Option<String>>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if given.is_null() {
        return Err(Error::invalid(name, format!("is NULL, although its length is {len}")));
    }
    if len > isize::MAX as usize / size_of::<*const c_char>() {
        return Err(Error::invalid(name, format!("{len} strings do not fit into memory")));
    }
    // SAFETY: the array has `len` strings, and its length does not overflow.
    let given = unsafe { std::slice::from_raw_parts(given, len) };
    let text = |(i, text): (usize, &*const c_char)| {
        // SAFETY: as the caller promises.
        unsafe { optional_text(&format!("{name}[{i}]"), *text) }
    };
    given.iter().enumerate().map(text).collect()
}

/// Refuses flags that this library does not know.
pub(crate) fn flags(name: &str, given: u64, known: u64) -> Result<()> {
    match given & !known {
        0 => Ok(()),
        unknown => Err(Error::invalid(name, format!("{unknown:#x} is not known"))),
    }
}

/// Refuses a value in a member that has no meaning yet.
pub(crate) fn reserved(given: impl Into<u64>) -> Result<()> {
    reserved_as("reserved", given)
}

/// The same of a member with this name.
pub(crate) fn reserved_as(name: &str, given: impl Into<u64>) -> Result<()> {
    if given.into() == 0 {
        return Ok(());
    }
    Err(Error::invalid(name, "must be 0"))
}
