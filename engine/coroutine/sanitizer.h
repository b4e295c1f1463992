// Which sanitizer this translation unit is built with. Internal; not installed.
#ifndef MILLRACE_ENGINE_COROUTINE_SANITIZER_H_
#define MILLRACE_ENGINE_COROUTINE_SANITIZER_H_

#if defined(__SANITIZE_ADDRESS__)
#define MILLRACE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define MILLRACE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MILLRACE_TSAN 1
#endif
#endif

#ifndef MILLRACE_ASAN
#define MILLRACE_ASAN 0
#endif
#ifndef MILLRACE_TSAN
#define MILLRACE_TSAN 0
#endif

#endif  // MILLRACE_ENGINE_COROUTINE_SANITIZER_H_
