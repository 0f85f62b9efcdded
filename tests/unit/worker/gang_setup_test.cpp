// Ranks that would not compute the same bits say so before they start; what went wrong is told by
// its cause; models have names.
#include "worker/gang_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "comm/loopback/loopback.h"
#include "worker/generate.h"
#include "worker/report.h"

namespace seamwright::worker {
namespace {

using ::testing::HasSubstr;

std::string agreement(const std::string& plan, const std::string& numerics,
                      const std::string& model) {
  return nlohmann::json{{"plan", plan}, {"numerics", numerics}, {"model", model}}.dump();
}

// What each of two ranks says.
std::vector<std::string> said(const std::string& first, const std::string& second) {
  comm::LoopbackGang gang(2);
  std::vector<std::string> messages(2);
  const auto member = [&](int rank) {
    auto& message = messages[static_cast<std::size_t>(rank)];
    try {
      check_agreement(rank == 0 ? first : second, gang.fabric(rank));
      message = "agreed";
    } catch (const Error& error) {
      message = error.what();
    }
  };
  std::thread other(member, 1);
  member(0);
  other.join();
  return messages;
}

TEST(Agreement, NamesTheRankThatDiffersAndInWhat) {
  const auto own = agreement("p", "cpu;isa=avx512", "m");
  EXPECT_THAT(said(own, own), ::testing::Each("agreed"));
  EXPECT_THAT(said(own, agreement("p", "cpu;isa=avx2", "m")),
              ::testing::Each(HasSubstr("rank 1 has another numerics than rank 0 ('cpu;isa=avx2', "
                                        "not 'cpu;isa=avx512')")));
  EXPECT_THAT(said(own, agreement("p", "cpu;isa=avx512", "n")),
              ::testing::Each(HasSubstr("rank 1 has another model than rank 0 ('n', not 'm')")));
  EXPECT_THAT(said(own, agreement("q", "cpu;isa=avx512", "m")),
              ::testing::Each(HasSubstr("rank 1 has another plan")));
  EXPECT_THAT(said(own, "an older build"), ::testing::Each(HasSubstr("rank 1 has another plan")));
}

std::exception_ptr failure(ErrorCode code, const std::string& text) {
  return std::make_exception_ptr(Error(code, text));
}

std::string cause_of(const std::vector<std::exception_ptr>& failures) {
  try {
    rethrow_cause(failures);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "none";
}

TEST(Cause, IsWhatOneRankSaysWhereTheOthersOnlyHeardOfIt) {
  const auto gone = failure(ErrorCode::kUnavailable, "the gang was aborted");
  const auto stopped = failure(ErrorCode::kCancelled, "stopped");
  EXPECT_EQ(cause_of({nullptr, nullptr}), "none");
  EXPECT_EQ(cause_of({gone, nullptr, failure(ErrorCode::kResource, "out of memory")}),
            "out of memory");
  EXPECT_EQ(cause_of({gone, stopped, std::make_exception_ptr(std::bad_alloc())}),
            std::bad_alloc().what());
  EXPECT_EQ(cause_of({nullptr, stopped, gone}), "stopped");
}

TEST(ModelName, IsTheFoldersOwnOrTheHubsId) {
  EXPECT_EQ(model_name("/models/demo"), "demo");
  EXPECT_EQ(model_name("/models/demo/"), "demo");
  EXPECT_EQ(model_name("models/demo//"), "demo");
  EXPECT_EQ(model_name("/models/one.safetensors"), "one.safetensors");
  EXPECT_EQ(model_name("/cache/hub/models--org--a-name/snapshots/0123abcd"), "org/a-name");
  EXPECT_EQ(model_name("/cache/hub/models--org--a-name/snapshots/0123abcd/"), "org/a-name");
}

}  // namespace
}  // namespace seamwright::worker
