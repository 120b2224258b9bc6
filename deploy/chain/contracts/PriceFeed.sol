// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title Settable price feed
/// @notice Answers like a Chainlink aggregator: prices in USD with 8 decimals (3000e8 is 3,000 USD).
/// @dev `setRound` takes any answer and time, so that a broken or stale feed can be played as well.
contract PriceFeed is Ownable {
    /// @notice There is no such round.
    /// @param roundId The round asked for; rounds count from 1.
    error RoundUnknown(uint80 roundId);

    /// @notice A new answer stands (the event of Chainlink's aggregators).
    /// @param current In 1e-8 USD.
    /// @param roundId Counts from 1.
    /// @param updatedAt Unix seconds.
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    struct Round {
        int192 answer;
        uint64 updatedAt;
    }

    /// @notice Digits after the point in every answer.
    uint8 public constant decimals = 8;

    /// @notice Version of the aggregator interface that is followed.
    uint256 public constant version = 4;

    /// @notice What is priced in what, such as "ETH / USD".
    string public description;

    uint80 private _latestRound;
    mapping(uint80 roundId => Round round) private _rounds;

    /// @param owner Who may set the answer.
    /// @param description_ What is priced in what.
    /// @param answer The first answer, in 1e-8 USD.
    constructor(address owner, string memory description_, int192 answer) Ownable(owner) {
        description = description_;
        _append(answer, uint64(block.timestamp));
    }

    /// @notice Sets the price as of now.
    /// @param answer In 1e-8 USD.
    function setAnswer(int192 answer) external onlyOwner {
        _append(answer, uint64(block.timestamp));
    }

    /// @notice Sets the price as of any time.
    /// @param answer In 1e-8 USD.
    /// @param updatedAt Unix seconds.
    function setRound(int192 answer, uint64 updatedAt) external onlyOwner {
        _append(answer, updatedAt);
    }

    /// @notice The latest answer alone, in 1e-8 USD; this is what Aave's oracle reads.
    function latestAnswer() external view returns (int256) {
        return _rounds[_latestRound].answer;
    }

    /// @notice The latest round.
    /// @return roundId Counts from 1.
    /// @return answer In 1e-8 USD.
    /// @return startedAt Unix seconds; the same as `updatedAt` here.
    /// @return updatedAt Unix seconds.
    /// @return answeredInRound The same as `roundId` here.
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return getRoundData(_latestRound);
    }

    /// @notice One round, as `latestRoundData`. Reverts with RoundUnknown.
    /// @param wanted The round's number.
    function getRoundData(uint80 wanted)
        public
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        if (wanted == 0 || wanted > _latestRound) revert RoundUnknown(wanted);
        Round memory round = _rounds[wanted];
        return (wanted, round.answer, round.updatedAt, round.updatedAt, wanted);
    }

    function _append(int192 answer, uint64 updatedAt) private {
        _latestRound += 1;
        _rounds[_latestRound] = Round(answer, updatedAt);
        emit AnswerUpdated(answer, _latestRound, updatedAt);
    }
}
