#include "model/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/quoted.h"
#include "model/tensor.h"

namespace seamwright::model {
namespace {

// A SAX handler that knows where in the fixed structure it is.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(std::string_view file) : file_(file) {}

  HeaderText take() {
    if (at_ != At::kDone) refuse("it is not a JSON object");
    return std::move(text_);
  }

  bool start_object(std::size_t /*elements*/) override {
    if (at_ == At::kStart) {
      at_ = At::kTop;
    } else if (at_ == At::kTopValue) {
      at_ = name_ == "__metadata__" ? At::kMetadata : At::kTensor;
      if (at_ == At::kTensor)
        text_.entries.push_back({.name = name_, .dtype = {}, .shape = {}, .offsets = {}});
      fields_seen_ = 0;
    } else {
      refuse_value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (at_ == At::kTop) {
      at_ = At::kDone;
    } else if (at_ == At::kMetadata) {
      at_ = At::kTop;
    } else {
      if (fields_seen_ != (kDtype | kShape | kOffsets)) {
        refuse(
            fmt::format("tensor {} needs exactly dtype, shape and data_offsets", in_quotes(name_)));
      }
      at_ = At::kTop;
    }
    return true;
  }

  bool key(std::string& text) override {
    if (at_ == At::kTop) {
      if (!names_.insert(text).second) refuse(fmt::format("{} appears twice", in_quotes(text)));
      name_ = text;
      at_ = At::kTopValue;
    } else if (at_ == At::kMetadata) {
      if (text_.metadata.contains(text)) {
        refuse(fmt::format("metadata key {} appears twice", in_quotes(text)));
      }
      field_name_ = text;
      at_ = At::kMetadataValue;
    } else {
      start_field(text);
    }
    return true;
  }

  bool string(std::string& text) override {
    if (at_ == At::kMetadataValue) {
      text_.metadata.emplace(field_name_, text);
      at_ = At::kMetadata;
    } else if (at_ == At::kTensorValue && field_ == kDtype) {
      text_.entries.back().dtype = text;
      at_ = At::kTensor;
    } else {
      refuse_value("a string");
    }
    return true;
  }

  bool start_array(std::size_t /*elements*/) override {
    if (at_ != At::kTensorValue || field_ == kDtype) refuse_value("a list");
    at_ = At::kNumbers;
    return true;
  }

  bool end_array() override {
    if (field_ == kOffsets && text_.entries.back().offsets.size() != 2) {
      refuse(fmt::format("data_offsets of tensor {} must be two numbers", in_quotes(name_)));
    }
    at_ = At::kTensor;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ != At::kNumbers) refuse_value("a number");
    HeaderEntry& entry = text_.entries.back();
    std::vector<std::uint64_t>& list = field_ == kShape ? entry.shape : entry.offsets;
    if (list.size() >= (field_ == kShape ? std::size_t{Shape::kMaxRank} : 2)) {
      refuse(fmt::format("{} of tensor {} has too many numbers", field_name_, in_quotes(name_)));
    }
    list.push_back(value);
    return true;
  }

  bool number_integer(number_integer_t) override { refuse_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    refuse_value("a fraction or a number beyond 64 bits");
  }
  bool null() override { refuse_value("null"); }
  bool boolean(bool) override { refuse_value("a boolean"); }
  bool binary(binary_t&) override { refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    refuse(fmt::format("not valid JSON in UTF-8 near byte {}: {}", position, in_quotes(e.what())));
  }

 private:
  enum class At {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kTensor,
    kTensorValue,
    kNumbers,
    kDone,
  };
  enum Field : unsigned { kDtype = 1, kShape = 2, kOffsets = 4 };

  void start_field(const std::string& text) {
    if (text == "dtype") {
      field_ = kDtype;
    } else if (text == "shape") {
      field_ = kShape;
    } else if (text == "data_offsets") {
      field_ = kOffsets;
    } else {
      refuse(fmt::format("tensor {} has an unknown field {}", in_quotes(name_), in_quotes(text)));
    }
    if ((fields_seen_ & field_) != 0) {
      refuse(fmt::format("tensor {} has the field {} twice", in_quotes(name_), text));
    }
    fields_seen_ |= field_;
    field_name_ = text;
    at_ = At::kTensorValue;
  }

  [[noreturn]] void refuse_value(std::string_view found) const {
    const bool in_tensor = at_ == At::kTensorValue || at_ == At::kNumbers;
    refuse(fmt::format("found {} where {} of {} should be", found,
                       in_tensor ? field_name_ : std::string("the entry"), in_quotes(name_)));
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::kCorrupt, "{}: damaged safetensors header: {}", file_, what);
  }

  std::string_view file_;
  HeaderText text_;
  std::unordered_set<std::string> names_;
  At at_ = At::kStart;
  unsigned field_ = 0;
  unsigned fields_seen_ = 0;
  std::string name_;
  std::string field_name_;
};

}  // namespace

HeaderText read_header_json(std::string_view json, std::string_view file) {
  HeaderHandler handler(file);
  nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  return handler.take();
}

}  // namespace seamwright::model
