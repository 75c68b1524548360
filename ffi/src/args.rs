//! Arguments from C, checked. What is wrong with one is said with its name.

use std::ffi::{CStr, CString, c_char};
use std::mem::{MaybeUninit, size_of};

use ctrd::{Error, Result};

/// More than any struct will have. A larger size is a variable that was not initialised.
const MAX_STRUCT: usize = 4096;

/// A struct that begins with its size and may grow at its end.
///
/// # Safety
/// `repr(C)`, its first member is `size: usize`, and all-zero is a valid value.
pub(crate) unsafe trait Struct: Copy {}

/// The size of a struct of the caller's, by its first member.
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

/// Reads a struct of the caller's, who may have an older header (what it lacks is zero) or a later
/// one (what this library does not know must be zero).
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
                "is of a later version than the library ({size} bytes, {} known), and uses it",
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

/// Fills in a struct of the caller's, as far as his header knows it. What that knows beyond this library
/// becomes zero; the size stays.
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

/// A string that must be given.
///
/// # Safety
/// `given` is NULL or a NUL-terminated string that outlives the call.
pub(crate) unsafe fn text<'a>(name: &str, given: *const c_char) -> Result<&'a str> {
    // SAFETY: as the caller promises.
    match unsafe { optional_text(name, given)? } {
        Some(text) => Ok(text),
        None => Err(Error::invalid(name, "must not be NULL")),
    }
}

/// A string for which NULL may be given.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_text<'a>(
    name: &str,
    given: *const c_char,
) -> Result<Option<&'a str>> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: it is a NUL-terminated string that outlives the call.
    let bytes = unsafe { CStr::from_ptr(given) };
    bytes.to_str().map(Some).map_err(|_| Error::invalid(name, "is not UTF-8"))
}

/// An array of strings. Where there are none it is not looked at.
///
/// # Safety
/// `given` is NULL or an array of `len` strings, each as for [`text`].
pub(crate) unsafe fn texts<'a>(
    name: &str,
    given: *const *const c_char,
    len: usize,
) -> Result<Vec<&'a str>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if given.is_null() {
        return Err(Error::invalid(name, format!("is NULL, and {len} are said to be there")));
    }
    if len > isize::MAX as usize / size_of::<*const c_char>() {
        return Err(Error::invalid(name, format!("{len} are more than memory can hold")));
    }
    // SAFETY: the array has `len` strings, and its length does not overflow.
    let given = unsafe { std::slice::from_raw_parts(given, len) };
    let text = |(i, text): (usize, &*const c_char)| {
        // SAFETY: as the caller promises.
        unsafe { self::text(&format!("{name}[{i}]"), *text) }
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

/// Gives a plain value where the caller wants it.
pub(crate) fn give<T>(place: Option<&mut T>, value: T) {
    if let Some(place) = place {
        *place = value;
    }
}

/// Insists on the place of a plain value.
pub(crate) fn required<'a, T>(name: &str, place: Option<&'a mut T>) -> Result<&'a mut T> {
    place.ok_or_else(|| Error::invalid(name, "must not be NULL"))
}

/// A text for C. A NUL that the server sent cannot be shown there.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Pairs of texts for C.
pub(crate) fn c_pairs(pairs: &[(String, String)]) -> Vec<(CString, CString)> {
    pairs.iter().map(|(key, value)| (c_string(key), c_string(value))).collect()
}

/// One of several pairs, for C.
pub(crate) fn pair(pairs: &[(CString, CString)], index: usize) -> (*const c_char, *const c_char) {
    pairs.get(index).map_or((std::ptr::null(), std::ptr::null()), |(k, v)| (k.as_ptr(), v.as_ptr()))
}
