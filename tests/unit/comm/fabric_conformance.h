// What every fabric must do: one suite, instantiated for each implementation.
// Threads: a case body runs once per rank, at the same time.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "comm/fabric.h"

namespace seamwright::comm::conformance {

using RankBody = std::function<void(Fabric&)>;

// One gang under test.
class TestGang {
 public:
  virtual ~TestGang() = default;
  // Runs `body` as every rank that lives in this process; an exception is a test failure.
  virtual void run(const RankBody& body) = 0;
  // Called by the rank itself: falls silent for ever, as a killed process does.
  virtual void lose_me(Fabric& me) = 0;
};

struct Implementation {
  std::string name;
  std::function<std::unique_ptr<TestGang>()> make_gang;
  bool alone = false;  // of one rank: cases about another are skipped
};

// Cases that leave the gang usable.
class FabricConformance : public testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override {
    gang_ = GetParam().make_gang();
    if (!gang_) GTEST_SKIP() << "there is no " << GetParam().name << " here";
  }
  void run(const RankBody& body) { gang_->run(body); }

  std::unique_ptr<TestGang> gang_;
};

// Cases that end it: each needs a gang of its own.
class FabricEnding : public FabricConformance {};

inline void PrintTo(const Implementation& value, std::ostream* out) { *out << value.name; }

inline std::string implementation_name(const testing::TestParamInfo<Implementation>& info) {
  return info.param.name;
}

}  // namespace seamwright::comm::conformance
