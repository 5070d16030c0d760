(ns jepsen.quorate.workload.observations
  "Acknowledged reports are never lost. The nodes report by themselves; at the end each one's log tells which reports the leader
  took, and its recording (`quoratectl history export`) which of them the log of the cluster holds, and where."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [jepsen.generator :as gen]
            [jepsen.quorate.ctl :as ctl]
            [quorate.recording :as recording])
  (:import (java.nio.file Files)))

(defn acknowledged
  "The [node number] of every report in a node's log that the leader took."
  [node log]
  (for [line (str/split-lines log)
        :let [[_ number] (re-find #"the leader took the report seq=(\d+)" line)]
        :when number]
    [node (Long/parseLong number)]))

(defn recorded
  "What a node recorded, for an :ok of :reports."
  [test node number]
  (let [file (java.io.File/createTempFile "quorate" ".qh")
        path (.getCanonicalPath file)]
    (.delete file)
    (try
      (let [{:keys [exit]} (ctl/call test [node] "--timeout" "60s" "history" "export" "--out" path)]
        (when (zero? exit)
          (assoc (recording/reports (Files/readAllBytes (.toPath (io/file path)))) :node number)))
      (finally (.delete (io/file path))))))

(defn workload [_opts]
  {:generator (gen/stagger 1 (gen/repeat {:type :invoke :f :hash :value {}}))
   :final-generator (gen/each-thread [(gen/once {:type :invoke :f :acknowledged :value {}})
                                      (gen/once {:type :invoke :f :reports :value {}})])})
