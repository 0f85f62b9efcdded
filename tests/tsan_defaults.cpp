// What ThreadSanitizer is told not to report. Linked into tests built with it.

// The count of an exception's owners changes inside libstdc++, which is not instrumented: that the
// last owner frees what another thread read before it let go looks like a race.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}
