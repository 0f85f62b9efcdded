#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>

#include "tests/unit/model/test_files.h"

namespace seamwright::model {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
std::span<const std::byte> as_bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

SafetensorsHeader parse(std::string_view file) { return parse_safetensors(as_bytes(file), "f"); }

std::string pad(std::string header) {
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

TEST(Safetensors, RoundTripKeepsNamesShapesBytesAndMetadata) {
  const TemporaryFolder folder;
  const std::vector<float> weights{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> ids{7, 8};
  const std::vector<std::uint16_t> halves{0x3c00};
  const std::vector<StoredTensor> tensors{
      {"unet.w", DType::kF32, {2, 3}, as_bytes(weights)},
      {"ids", DType::kI64, {1, 2}, as_bytes(ids)},
      {"scalar", DType::kF16, {}, as_bytes(halves)},
      {"nothing", DType::kF32, {0, 4}, {}},
  };
  write_safetensors(folder / "a.safetensors", tensors, {{"format", "pt"}, {"step", "12"}});

  const SafetensorsFile file(folder / "a.safetensors");
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.tensors()[0].name, "ids");  // ascending by name
  EXPECT_EQ(file.metadata().at("step"), "12");
  for (const StoredTensor& wanted : tensors) {
    const StoredTensor* found = file.find(wanted.name);
    ASSERT_NE(found, nullptr) << wanted.name;
    EXPECT_EQ(found->type, wanted.type);
    EXPECT_EQ(found->shape, wanted.shape);
    EXPECT_TRUE(std::equal(found->bytes.begin(), found->bytes.end(), wanted.bytes.begin(),
                           wanted.bytes.end()))
        << wanted.name;
  }
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(Safetensors, WriterReplacesTheOldFileAndLeavesNoTemporary) {
  const TemporaryFolder folder;
  folder.write("a.safetensors", "old");
  write_safetensors(folder / "a.safetensors", {}, {});
  EXPECT_TRUE(SafetensorsFile(folder / "a.safetensors").tensors().empty());
  const std::filesystem::directory_iterator entries(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST(Safetensors, WriterKeepsTheOldFileWhenTheNewOneIsRefused) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {}, {{"kept", "yes"}});
  const std::vector<float> one{1};
  const std::vector<StoredTensor> twice{{"x", DType::kF32, {1}, as_bytes(one)},
                                        {"x", DType::kF32, {1}, as_bytes(one)}};
  EXPECT_THROW(write_safetensors(folder / "a.safetensors", twice), Error);
  EXPECT_EQ(SafetensorsFile(folder / "a.safetensors").metadata().at("kept"), "yes");
}

TEST(Safetensors, WriterKeepsTheOldFileAndCleansUpWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {}, {{"kept", "yes"}});
  const std::vector<float> many(1 << 16);
  const std::vector<StoredTensor> tensors{{"x", DType::kF32, {1 << 16}, as_bytes(many)}};
  // A file size limit makes write() fail half way, as a full disk does.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { .rlim_cur = 4096, .rlim_max = before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Error error = error_of([&] { write_safetensors(folder / "a.safetensors", tensors); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_THAT(error.what(), HasSubstr("a.safetensors"));
  EXPECT_EQ(SafetensorsFile(folder / "a.safetensors").metadata().at("kept"), "yes");
  const std::filesystem::directory_iterator entries(folder.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST(Safetensors, WriterRefusesWrongSizesReservedNamesAndUnwritableFolders) {
  const TemporaryFolder folder;
  const std::vector<float> one{1};
  const auto write_one = [&](const std::string& name, const Shape& shape, std::string_view file) {
    const std::vector<StoredTensor> tensors{{name, DType::kF32, shape, as_bytes(one)}};
    write_safetensors(folder / file, tensors);
  };
  EXPECT_THAT(error_of([&] { write_one("x", {2}, "a"); }).what(), HasSubstr("needs 8 bytes"));
  EXPECT_THROW(write_one("__metadata__", {1}, "a"), Error);
  EXPECT_THROW(write_one("bad \xff name", {1}, "a"), Error);
  const Error error = error_of([&] { write_one("x", {1}, "no/such/folder/a"); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_THAT(error.what(), HasSubstr("no/such/folder"));
}

TEST(Safetensors, WriterPlacesWideElementsFirstSoThatAllAreAligned) {
  const TemporaryFolder folder;
  const std::vector<unsigned char> byte{1};
  const std::vector<double> wide{2.0};
  const std::vector<StoredTensor> tensors{{"a", DType::kU8, {1}, as_bytes(byte)},
                                          {"b", DType::kF64, {1}, as_bytes(wide)}};
  write_safetensors(folder / "a.safetensors", tensors);
  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.find("b")->bytes.data()) % 8, 0U);
  EXPECT_EQ(*file.find("b")->view().as<double>(), 2.0);
}

TEST(Safetensors, UnpaddedHeaderOfOldWritersStillGivesAlignedViews) {
  const TemporaryFolder folder;
  std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  if (header.size() % 8 == 0) header += ' ';
  const std::vector<float> values{1.5F, -2.5F};
  folder.write("a", safetensors_bytes(header, {reinterpret_cast<const char*>(values.data()), 8}));
  const SafetensorsFile file(folder / "a");
  const ConstView view = file.find("x")->view();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data) % 4, 0U);
  EXPECT_EQ(view.as<float>()[0], 1.5F);
  EXPECT_EQ(view.as<float>()[1], -2.5F);
}

TEST(Safetensors, ConvertsEveryFloatingTypeToFloatExactly) {
  const auto convert = [](DType type, std::span<const std::byte> bytes, std::int64_t count) {
    std::vector<float> out(static_cast<std::size_t>(count));
    copy_to_float({"x", type, {count}, bytes}, out);
    return out;
  };
  const std::vector<double> doubles{1.25, -3e-5};
  EXPECT_EQ(convert(DType::kF64, as_bytes(doubles), 2), (std::vector<float>{1.25F, -3e-5F}));
  // 1, -2, largest, smallest normal, smallest subnormal, -0, infinity
  const std::vector<std::uint16_t> halves{0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00};
  const auto floats = convert(DType::kF16, as_bytes(halves), 7);
  EXPECT_EQ(floats, (std::vector<float>{1, -2, 65504, 0x1p-14F, 0x1p-24F, -0.0F,
                                        std::numeric_limits<float>::infinity()}));
  EXPECT_TRUE(std::signbit(floats[5]));
  const std::vector<std::uint16_t> brains{0x3f80, 0xc000, 0x7fc0};
  const auto wide = convert(DType::kBF16, as_bytes(brains), 3);
  EXPECT_EQ(wide[0], 1.0F);
  EXPECT_EQ(wide[1], -2.0F);
  EXPECT_TRUE(std::isnan(wide[2]));
  const std::vector<std::int64_t> ids{1};
  EXPECT_THAT(error_of([&] { convert(DType::kI64, as_bytes(ids), 1); }).what(),
              HasSubstr("floating-point"));
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* message;
  ErrorCode code = ErrorCode::kCorrupt;
};

std::string one_tensor(std::string_view fields, std::size_t data_bytes) {
  return safetensors_bytes(pad(fmt::format(R"({{"w":{{{}}}}})", fields)),
                           std::string(data_bytes, '\1'));
}

std::vector<BadFile> bad_files() {
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  std::string huge(8, '\xff');
  std::string over = safetensors_bytes("{}", "");
  over[0] = 100;
  return {
      {"Empty", "", "too few"},
      {"SevenBytes", "1234567", "too few"},
      {"HeaderBeyondLimit", huge + "{}", "more than the 100000000 allowed"},
      {"HeaderBeyondFile", over, "cut short"},
      {"NotAnObject", safetensors_bytes("[]", ""), "does not begin with '{'"},
      {"LeadingSpace", safetensors_bytes(" {}", ""), "does not begin with '{'"},
      {"BrokenJson", safetensors_bytes(R"({"w":)", ""), "not valid JSON"},
      {"TrailingText", safetensors_bytes("{} x", ""), "not valid JSON"},
      {"NotUtf8", safetensors_bytes("{\"\xc3\x28\":{}}", ""), "not valid JSON"},
      {"DuplicateName",
       safetensors_bytes(fmt::format(R"({{"w":{{{0}}},"w":{{{0}}}}})", good), "12345678"),
       "'w' appears twice"},
      {"DuplicateField", one_tensor(good + R"(,"dtype":"F16")", 8), "the field dtype twice"},
      {"UnknownField", one_tensor(good + R"(,"extra":1)", 8), "unknown field 'extra'"},
      {"MissingField", one_tensor(R"("dtype":"F32","shape":[2])", 8), "needs exactly dtype"},
      {"NestedShape", one_tensor(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", 8),
       "found a list"},
      {"NegativeShape", one_tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", 8),
       "negative number"},
      {"FractionalShape", one_tensor(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", 8),
       "fraction"},
      {"RankTooHigh",
       one_tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8])", 8),
       "too many numbers"},
      {"NullValue", safetensors_bytes(R"({"w":null})", ""), "found null"},
      {"StringValue", safetensors_bytes(R"({"w":"x"})", ""), "found a string"},
      {"NumericMetadata", safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), "found a number"},
      {"DuplicateMetadata", safetensors_bytes(R"({"__metadata__":{"a":"1","a":"2"}})", ""),
       "'a' appears twice"},
      {"ShapeOverflows64Bits",
       one_tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])", 8),
       "too large"},
      {"ExtentBeyond63Bits",
       one_tensor(R"("dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0])", 0),
       "too large"},
      {"ShapeNeedsMoreBytes", one_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8),
       "needs 12 bytes, but has 8"},
      {"WrongType", one_tensor(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])", 8),
       "needs 4 bytes, but has 8"},
      {"UnknownType", one_tensor(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])", 8),
       "'F8_E4M3'", ErrorCode::kUnsupported},
      {"OffsetsBackwards", one_tensor(R"("dtype":"F32","shape":[0],"data_offsets":[8,0])", 8),
       "claims bytes 8 to 0"},
      {"OffsetsBeyondData", one_tensor(good, 4), "holds 4 bytes of data"},
      {"OneOffset", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0])", 8),
       "must be two numbers"},
      {"ThreeOffsets", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", 8),
       "too many numbers"},
      {"Overlap",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},)"
                         R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                         "12345678"),
       "'a' and 'b' overlap"},
      {"Gap",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                         R"("b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})",
                         "12345678"),
       "2 bytes before tensor 'b'"},
      {"SurplusData", one_tensor(good, 12), "4 bytes at the end"},
      {"DataWithoutTensors", safetensors_bytes("{}", "1234"), "4 bytes at the end"},
      {"Misaligned",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                         R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
                         "123456"),
       "no multiple of its element size"},
  };
}

class BadSafetensors : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsRefusedWithItsReasonAndTheFileNamed) {
  const Error error = error_of([&] { parse(GetParam().bytes); });
  EXPECT_EQ(error.code(), GetParam().code);
  EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  EXPECT_THAT(error.what(), ::testing::StartsWith("f: "));
}

INSTANTIATE_TEST_SUITE_P(Each, BadSafetensors, ::testing::ValuesIn(bad_files()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, GoodFileIsAcceptedSoThatTheBadOnesFailForTheirOwnReason) {
  const auto header = parse(one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 8));
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors[0].shape, (Shape{2}));
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 8);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(parse(std::string_view(whole).substr(0, size)), Error) << size << " bytes";
  }
}

TEST(Safetensors, EveryFlippedHeaderByteIsRefusedOrReadWithoutHarm) {
  const std::string whole = one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 8);
  for (std::size_t i = 0; i < whole.size() - 8; ++i) {
    for (const unsigned char flip : {0x01, 0x10, 0x80}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ flip);
      try {
        for (const StoredTensor& tensor : parse(bytes).tensors) {
          EXPECT_EQ(tensor.bytes.size(), tensor.view().bytes());
        }
      } catch (const Error&) {  // refused, which is as good
      }
    }
  }
}

TEST(Safetensors, HostileNamesAreEscapedInMessages) {
  const std::string name = "\\u001b[31m" + std::string(1000, 'x');
  const auto bytes = safetensors_bytes(fmt::format(R"({{"{}":null}})", name), "");
  const std::string message = error_of([&] { parse(bytes); }).what();
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_LT(message.size(), 400U);
}

TEST(Safetensors, MissingFileFolderAndEmptyFileSayWhichPath) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { SafetensorsFile(folder / "none"); }).code(), ErrorCode::kNotFound);
  EXPECT_EQ(error_of([&] { SafetensorsFile(folder.path()); }).code(), ErrorCode::kIo);
  folder.write("empty.safetensors", "");
  EXPECT_THAT(error_of([&] { SafetensorsFile(folder / "empty.safetensors"); }).what(),
              HasSubstr("empty.safetensors"));
}

}  // namespace
}  // namespace seamwright::model
