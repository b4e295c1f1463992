// A program that differs from the library about AddressSanitizer does not link.
//
// Abseil's containers, of which public classes are made, are laid out otherwise with it: such a
// program would run into memory errors of neither's making. What is missing at its link says why:
// build the library with -DMILLRACE_SANITIZE=address (or the program without). Internal.
#ifndef MILLRACE_ENGINE_BASE_SANITIZER_AGREEMENT_H_
#define MILLRACE_ENGINE_BASE_SANITIZER_AGREEMENT_H_

#if defined(__SANITIZE_ADDRESS__)
#define MILLRACE_SANITIZED_ADDRESSES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_SANITIZED_ADDRESSES 1
#endif
#endif

namespace millrace::internal {

#if defined(MILLRACE_SANITIZED_ADDRESSES)
extern const char the_library_is_built_with_address_sanitizer;
[[gnu::used]] inline const char* const sanitizers_agree =
    &the_library_is_built_with_address_sanitizer;
#else
extern const char the_library_is_built_without_address_sanitizer;
[[gnu::used]] inline const char* const sanitizers_agree =
    &the_library_is_built_without_address_sanitizer;
#endif

}  // namespace millrace::internal

#endif  // MILLRACE_ENGINE_BASE_SANITIZER_AGREEMENT_H_
