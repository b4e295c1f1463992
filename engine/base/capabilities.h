// Who may suspend, and who may not: annotations that clang's thread-safety analysis proves.
//
// Two phantom capabilities exist (they occupy nothing at run time):
//   kMaySuspend   held by code that runs inside a coroutine;
//   kNoOpenView   held while no GraphView or GraphTransaction is open.
// A function named Co... requires both (MILLRACE_MAY_SUSPEND). A view *releases* kNoOpenView while
// it lives, so nothing below it can call a Co function, transitively. Code outside coroutines
// (main, tests, embedders) opens a HostScope, which grants kNoOpenView only.
//
// clang proves it with -Wthread-safety; g++ ignores the annotations, and Suspend() checks the same
// rules again at run time, for g++ builds and for what the analysis cannot see (function pointers,
// std::function, constructors and destructors, overrides stricter than their base); opening a view
// checks that no other is open.
#ifndef MILLRACE_ENGINE_BASE_CAPABILITIES_H_
#define MILLRACE_ENGINE_BASE_CAPABILITIES_H_

#if __cplusplus < 202002L
#error "Millrace is C++20: compile with -std=c++20 or later"
#endif

#if defined(__clang__)
#define MILLRACE_ATTRIBUTE_TSA(x) __attribute__((x))
#define MILLRACE_LIFETIME_BOUND [[clang::lifetimebound]]
#else
#define MILLRACE_ATTRIBUTE_TSA(x)
#define MILLRACE_LIFETIME_BOUND
#endif

#define MILLRACE_CAPABILITY(kind) MILLRACE_ATTRIBUTE_TSA(capability(kind))
#define MILLRACE_SCOPED_CAPABILITY MILLRACE_ATTRIBUTE_TSA(scoped_lockable)
#define MILLRACE_ACQUIRE(...) MILLRACE_ATTRIBUTE_TSA(acquire_capability(__VA_ARGS__))
#define MILLRACE_RELEASE(...) MILLRACE_ATTRIBUTE_TSA(release_capability(__VA_ARGS__))
#define MILLRACE_REQUIRES(...) MILLRACE_ATTRIBUTE_TSA(requires_capability(__VA_ARGS__))
#define MILLRACE_ASSERT_CAPABILITY(...) MILLRACE_ATTRIBUTE_TSA(assert_capability(__VA_ARGS__))
#define MILLRACE_NO_ANALYSIS MILLRACE_ATTRIBUTE_TSA(no_thread_safety_analysis)

// On every function that may suspend the calling coroutine; its name starts with Co.
#define MILLRACE_MAY_SUSPEND MILLRACE_REQUIRES(::millrace::kMaySuspend, ::millrace::kNoOpenView)
// On a function that opens a view or transaction and closes it again, and does not suspend.
#define MILLRACE_OPENS_VIEW MILLRACE_REQUIRES(::millrace::kNoOpenView)

namespace millrace {

class MILLRACE_CAPABILITY("permission") Permit {
 public:
  constexpr Permit() = default;
};

inline constexpr Permit kMaySuspend;
inline constexpr Permit kNoOpenView;

// Tells the analysis that this code runs in a coroutine with no view open. Only the code that
// enters a coroutine's body uses it; everything else inherits the fact through annotations.
inline void AssertInCoroutine() MILLRACE_ASSERT_CAPABILITY(kMaySuspend, kNoOpenView) {}

// Grants kNoOpenView to code outside coroutines, for as long as it lives:
//
//   HostScope host;
//   GraphView view(graph);      // fine; calling a Co function here would not compile under clang
class MILLRACE_SCOPED_CAPABILITY HostScope {
 public:
  HostScope() MILLRACE_ACQUIRE(kNoOpenView) {}
  ~HostScope() MILLRACE_RELEASE() {}
  HostScope(const HostScope&) = delete;
  HostScope& operator=(const HostScope&) = delete;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_CAPABILITIES_H_
