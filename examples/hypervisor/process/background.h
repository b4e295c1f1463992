// Going to the background (--daemonize): the caller of the program waits until startup is complete
// and gets the outcome as exit status.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BACKGROUND_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BACKGROUND_H_

namespace millrace {

class Background {
 public:
  // Forks; returns in the child only. Call it before there are threads. The parent exits with 0 on
  // Complete(), or with 1 when the child ends without.
  void Enter();
  // In the child: leaves the terminal and lets the parent go. Does nothing without Enter().
  void Complete();

 private:
  int parent_ = -1;  // the pipe to the parent
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BACKGROUND_H_
