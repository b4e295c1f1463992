// Tests that open images of the toy format from a simulated disk: each body in an engine and a
// graph of its own, which must be empty when it has ended.
#ifndef MILLRACE_TESTS_SUPPORT_TOY_IMAGES_FIXTURE_H_
#define MILLRACE_TESTS_SUPPORT_TOY_IMAGES_FIXTURE_H_

#include <memory>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "tests/support/simulation.h"
#include "tests/support/toy_format.h"

namespace millrace {

class ToyImagesFixture : public ::testing::Test {
 protected:
  // "a/top <- a/mid": what mid stands on is the test's own.
  ToyImagesFixture() {
    EXPECT_TRUE(RegisterBuiltinDrivers(registry_).ok());
    EXPECT_TRUE(registry_
                    .Register(
                        "toy",
                        [](const DriverOptions&) -> absl::StatusOr<std::unique_ptr<Driver>> {
                          return MakeToyDriver();
                        },
                        NodeKind::kFormat)
                    .ok());
    disk_.Put("a/top", ToyImage("mid", "toy", "UDUU", 't'));
    disk_.Put("a/mid", ToyImage("base", "toy", "UUZU", 'm'));
  }

  // Runs `body(graph)` and checks that nothing is left open behind it.
  template <typename Body>
  void InGraph(Body body) {
    auto engine = SimulatedEngine({.disk = &disk_});
    absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
      Graph graph(*engine);
      body(graph);
      graph.CoClose();
      EXPECT_EQ(graph.node_count(), 0u);
      EXPECT_TRUE(graph.CheckInvariants().ok());
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  SimulatedDisk disk_;
  DriverRegistry registry_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_TOY_IMAGES_FIXTURE_H_
