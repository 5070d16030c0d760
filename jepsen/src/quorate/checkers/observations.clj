(ns quorate.checkers.observations
  "Acknowledged reports are never lost: a set in full.

  A node counts its reports; :add of [node number] is :ok when the leader said that it took the report. At the end each node
  hands out what it applied (:reports), with the index of each and the stretches of the log that it covers. An acknowledged
  report that is in no recording is lost, unless its place could be in a stretch that nobody recorded. A number may stand in the
  log more than once, because a node that restarts counts anew until it is told where it was; but one place in the log holds
  the same reports in every recording."
  (:require [quorate.history :as h]))

(defn- gap? "Whether some index in [from to] is in no covered stretch." [covered from to]
  (loop [at from, spans (sort covered)]
    (if (> at to)
      false
      (if-let [[a b] (first (filter (fn [[a b]] (<= a at b)) spans))]
        (recur (inc b) spans)
        true))))

(defn- differing
  "The places at which two recordings that cover them hold different reports."
  [recordings]
  (let [by-index (map (fn [{:keys [elements]}]
                        (reduce (fn [held [node number index]] (update held index (fnil conj #{}) [node number])) {} elements))
                      recordings)]
    (for [index (sort (distinct (mapcat keys by-index)))
          :let [held (for [[recording reports] (map vector recordings by-index)
                           :when (not (gap? (:covered recording) index index))]
                       (get reports index #{}))]
          :when (> (count (distinct held)) 1)]
      [index (vec (distinct held))])))

(defn check [history]
  (let [recordings (map :value (h/oks history :reports))
        covered (h/merged (mapcat :covered recordings))
        places (reduce (fn [places [node number index]] (update places [node number] (fnil conj #{}) index))
                       {} (mapcat :elements recordings))
        by-node (reduce (fn [all [[node number] indices]] (assoc-in all [node number] (apply min indices))) {} places)
        acknowledged (distinct (map :value (h/oks history :add)))
        lost? (fn [[node number]]
                (when-not (contains? places [node number])
                  (let [numbers (get by-node node)
                        before (reduce max 0 (keep (fn [[n i]] (when (< n number) i)) numbers))
                        after (seq (keep (fn [[n i]] (when (> n number) i)) numbers))]
                    ;; Without a later report of the node its place may be beyond all that was recorded.
                    (and after (not (gap? covered (max 1 before) (apply min after)))))))]
    (if (empty? recordings)
      {:valid? true :violations [] :unknown (count acknowledged)}
      (assoc (h/verdict :observations
                        (concat
                         (for [element acknowledged :when (lost? element)]
                           (str "report " (second element) " of node " (first element) " was acknowledged and is in no recording"))
                         (for [[index held] (differing recordings)]
                           (str "at index " index " the recordings hold " held))))
             :acknowledged (count acknowledged)
             :unknown (count (remove #(or (contains? places %) (lost? %)) acknowledged))))))
