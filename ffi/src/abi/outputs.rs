//! Outputs and texts for C.

use std::ffi::{CStr, CString, c_char};

use ctrd::{Error, Result};

/// A place of the caller's for what an export gives.
pub(crate) trait Output {
    type Value: Send + 'static;

    /// The argument's name; empty if the function has no output.
    fn name(&self) -> &'static str;

    /// Whether the caller gave the place.
    fn is_given(&self) -> bool;

    /// Whether the caller must give it.
    fn is_required(&self) -> bool;

    /// Sets an output that the caller is to own to NULL, which it stays if the function fails.
    fn clear(&mut self);

    /// Gives the caller the value, or drops it if there is no place for it.
    fn put(self, value: Self::Value);

    /// Fails if the caller must give the place, and did not.
    fn check(&self) -> Result<()> {
        if self.is_required() && !self.is_given() {
            return Err(Error::invalid(self.name(), "must not be NULL"));
        }
        Ok(())
    }
}

/// The output of a function that has none.
pub(crate) struct Nothing;

impl Output for Nothing {
    type Value = ();

    fn name(&self) -> &'static str {
        ""
    }

    fn is_given(&self) -> bool {
        false
    }

    fn is_required(&self) -> bool {
        false
    }

    fn clear(&mut self) {}

    fn put(self, (): ()) {}
}

/// The parts of an owned output.
pub(crate) trait IntoHandle: Send + 'static {
    type Handle;
    fn into_handle(self) -> *mut Self::Handle;
}

impl<T: Send + 'static> IntoHandle for Box<T> {
    type Handle = T;

    fn into_handle(self) -> *mut T {
        Box::into_raw(self)
    }
}

impl IntoHandle for CString {
    type Handle = c_char;

    fn into_handle(self) -> *mut c_char {
        self.into_raw()
    }
}

/// The place of something that the caller is to own.
pub(crate) struct Handle<'a, H: IntoHandle> {
    name: &'static str,
    place: Option<&'a mut *mut H::Handle>,
    required: bool,
}

impl<'a, H: IntoHandle> Handle<'a, H> {
    /// One that the caller must give.
    pub(crate) fn required(name: &'static str, place: Option<&'a mut *mut H::Handle>) -> Self {
        Handle { name, place, required: true }
    }

    /// One for which NULL may be given.
    pub(crate) fn optional(name: &'static str, place: Option<&'a mut *mut H::Handle>) -> Self {
        Handle { name, place, required: false }
    }
}

impl<H: IntoHandle> Output for Handle<'_, H> {
    type Value = H;

    fn name(&self) -> &'static str {
        self.name
    }

    fn is_given(&self) -> bool {
        self.place.is_some()
    }

    fn is_required(&self) -> bool {
        self.required
    }

    fn clear(&mut self) {
        if let Some(place) = &mut self.place {
            **place = std::ptr::null_mut();
        }
    }

    fn put(self, value: H) {
        if let Some(place) = self.place {
            *place = value.into_handle();
        }
    }
}

/// The place of a number or a plain struct, which is left alone if the function fails.
pub(crate) struct Plain<'a, T> {
    name: &'static str,
    place: Option<&'a mut T>,
    required: bool,
}

impl<'a, T> Plain<'a, T> {
    /// One that the caller must give.
    pub(crate) fn required(name: &'static str, place: Option<&'a mut T>) -> Self {
        Plain { name, place, required: true }
    }

    /// One for which NULL may be given.
    pub(crate) fn optional(name: &'static str, place: Option<&'a mut T>) -> Self {
        Plain { name, place, required: false }
    }
}

impl<T: Send + 'static> Output for Plain<'_, T> {
    type Value = T;

    fn name(&self) -> &'static str {
        self.name
    }

    fn is_given(&self) -> bool {
        self.place.is_some()
    }

    fn is_required(&self) -> bool {
        self.required
    }

    fn clear(&mut self) {}

    fn put(self, value: T) {
        give(self.place, value);
    }
}

/// Gives a plain value if the caller wants it.
pub(crate) fn give<T>(place: Option<&mut T>, value: T) {
    if let Some(place) = place {
        *place = value;
    }
}

/// The body of an accessor of a number that may be absent: 1 if it is there.
pub(crate) fn give_present<T>(value: Option<T>, place: Option<&mut T>) -> i32 {
    let Some(value) = value else { return 0 };
    give(place, value);
    1
}

/// A text for C. It cannot hold a NUL, which the server may have sent.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Labels: pairs of keys and values.
pub(crate) struct Labels(Vec<(CString, CString)>);

impl Labels {
    pub(crate) fn new(pairs: &[(String, String)]) -> Labels {
        Labels(pairs.iter().map(|(key, value)| (c_string(key), c_string(value))).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of the keys; NULL beyond the last.
    pub(crate) fn key(&self, index: usize) -> *const c_char {
        nullable(self.0.get(index).map(|(key, _)| key.as_c_str()))
    }

    /// The value of this key; NULL if there is none. The keys are in order.
    pub(crate) fn find(&self, key: &CStr) -> *const c_char {
        let found = self.0.binary_search_by(|(label, _)| label.as_c_str().cmp(key)).ok();
        nullable(found.map(|index| self.0[index].1.as_c_str()))
    }

    /// One of the values; NULL beyond the last.
    pub(crate) fn value(&self, index: usize) -> *const c_char {
        nullable(self.0.get(index).map(|(_, value)| value.as_c_str()))
    }
}

/// A text that says something by being NULL.
pub(crate) fn nullable(text: Option<&CStr>) -> *const c_char {
    text.map_or(std::ptr::null(), CStr::as_ptr)
}
