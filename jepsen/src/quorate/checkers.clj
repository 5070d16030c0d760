(ns quorate.checkers
  "Every checker, by the invariant that it judges. The numbers are those of the crate's front page."
  (:require [quorate.checkers.bound :as bound]
            [quorate.checkers.durable :as durable]
            [quorate.checkers.epochs :as epochs]
            [quorate.checkers.linear :as linear]
            [quorate.checkers.observations :as observations]
            [quorate.checkers.outages :as outages]
            [quorate.checkers.quorum :as quorum]
            [quorate.checkers.record :as record]
            [quorate.checkers.resume :as resume]
            [quorate.checkers.silence :as silence]
            [quorate.checkers.states :as states]
            [quorate.checkers.superseded :as superseded]
            [quorate.checkers.writes :as writes]))

(def all
  "[invariant name check]"
  [[1 "epochs" epochs/check]
   [2 "writes" writes/check]
   [3 "quorum" quorum/check]
   [4 "silence" silence/check]
   [5 "record" record/check]
   [6 "superseded" superseded/check]
   [7 "durable" durable/check]
   [8 "states" states/check]
   [9 "bound" bound/check]
   [10 "resume" resume/check]
   [11 "outages" outages/check]
   [:linearizability "linear" linear/check]
   [:observations "observations" observations/check]])

(defn judge
  "By checker name: its verdict."
  [history]
  (into (sorted-map) (for [[_ name check] all] [name (check history)])))

(defn violations [verdicts] (vec (mapcat :violations (vals verdicts))))

(defn vacuous
  "What a history lacks for the verdicts to mean anything."
  [history]
  (remove nil? [(when-not (some #(= :setup (:f %)) history) "no :setup")
                (when-not (some integer? (map :process history)) "no client")
                (when-not (some #(= :witness (:process %)) history) "no witness")]))
